"""Counts of multiply-accumulates against the definition of each layer."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fer_models.classifiers.flops import macs

TOKENS, WIDTH = 10, 32
#: Query times key and weights times value, over all heads.
ATTENTION = 2 * TOKENS**2 * WIDTH


def test_every_product_of_a_convolution_and_of_a_linear_layer_is_counted():
    assert macs(lambda: nn.Conv2d(3, 8, 3, padding=1)(torch.zeros(1, 3, 16, 16))) == 16 * 16 * 8 * 3 * 9
    assert macs(lambda: nn.Linear(WIDTH, 5)(torch.zeros(TOKENS, WIDTH))) == TOKENS * WIDTH * 5


def test_fused_attention_costs_its_two_products():
    heads = torch.zeros(1, 4, TOKENS, WIDTH // 4)
    assert macs(lambda: F.scaled_dot_product_attention(heads, heads, heads)) == ATTENTION


def test_torchs_fast_path_of_attention_hides_nothing():
    layer, x = nn.MultiheadAttention(WIDTH, 4, batch_first=True).eval(), torch.zeros(1, TOKENS, WIDTH)
    assert macs(lambda: layer(x, x, x, need_weights=False)) == TOKENS * 4 * WIDTH**2 + ATTENTION


@pytest.mark.parametrize("fast", [True, False])
def test_torchs_settings_are_restored(fast):
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast)
    try:
        with pytest.raises(ZeroDivisionError):
            macs(lambda: 1 / 0)
        assert torch.backends.mha.get_fastpath_enabled() is fast
        assert torch.backends.cuda.flash_sdp_enabled()
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
