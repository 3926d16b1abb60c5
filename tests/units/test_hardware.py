"""The table of devices against the reported speeds that its shares of the peak come from."""

import re

import pytest

from gptx.units import hardware

GPT2 = 8.547e8  # operations a token, nanoGPT's count at 50,304 rows


@pytest.mark.parametrize(("name", "tokens_per_second"), [
    ("h200", 490e3), ("h100", 442e3), ("a100", 178e3), ("a100-40gb", 178e3), ("l40s", 76e3), ("b200", 612e3),
])  # fmt: skip
def test_a_share_of_the_peak_is_that_of_the_speed_that_was_reported(name, tokens_per_second):
    device = hardware.device_named(name)
    assert device.mfu == pytest.approx(tokens_per_second * GPT2 / device.peak("bf16"), abs=0.005)
    assert f"{tokens_per_second / 1e3:.0f}k tokens/s" in device.source


def test_a_device_without_a_known_figure_says_that_its_share_is_assumed():
    unknown = [device for device in hardware.DEVICES if "tokens/s" not in device.source]
    assert {device.mfu for device in unknown} == {0.35}
    assert all("assumed" in device.source for device in unknown)
    assert "rtx4090" in {device.name for device in unknown}


def test_bytes_are_the_data_sheet_s_of_which_a_driver_shows_at_most_7_percent_more():
    shown = {"h200": 150.8e9}  # what torch.cuda.mem_get_info says of one
    for name, total in shown.items():
        assert 1 < total / hardware.device_named(name).memory < 1.07


@pytest.mark.parametrize("word", ["RTX 4090", "rtx-4090", "Rtx4090"])
def test_a_device_is_found_however_its_name_is_written(word):
    assert hardware.device_named(word).memory == 24e9


@pytest.mark.parametrize(("word", "message"), [
    ("h1000", "hardware=h1000: no such device; did you mean 'h100'?"),
    ("abacus", "hardware=abacus: no such device; known: b200, h200, "),
])  # fmt: skip
def test_another_name_is_refused_with_what_there_is(word, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        hardware.device_named(word)


@pytest.mark.parametrize(("called", "name"), [
    ("NVIDIA A100-SXM4-40GB", "a100-40gb"), ("NVIDIA A100-SXM4-80GB", "a100"), ("NVIDIA H100 PCIe", "h100-pcie"),
    ("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA H200", "h200"), ("NVIDIA L40S", "l40s"), ("NVIDIA L4", "l4"),
])  # fmt: skip
def test_a_driver_s_name_means_the_device_with_that_memory(called, name):
    assert hardware.recognised(called) == hardware.device_named(name)
