"""What serves a release on GKE, as a Kustomize base."""
