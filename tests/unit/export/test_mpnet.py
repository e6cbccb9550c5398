import torch
from prep_triton.export.mpnet import add_bias_table, look_up_bias
from transformers import MPNetConfig, MPNetModel


def test_the_table_holds_the_librarys_own_bias_of_every_distance_it_tells_apart_and_beyond():
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "num_hidden_layers": 1}
    model = MPNetModel(MPNetConfig(vocab_size=9, max_position_embeddings=302, **sizes)).eval()
    with torch.inference_mode():
        hidden = torch.zeros(1, 300, 8)
        expected = model.encoder.compute_position_bias(hidden)
        add_bias_table(model, 300)
        look_up_bias(model)
        for length in (1, 7, 300):
            torch.testing.assert_close(
                model.encoder.compute_position_bias(hidden[:, :length]), expected[:, :, :length, :length]
            )
    assert len(expected[0, 0].unique()) == 31  # of 32 buckets: one is that of a distance of 0 ahead
