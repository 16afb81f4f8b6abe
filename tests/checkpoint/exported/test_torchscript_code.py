"""What torch writes for a detector passes; what opens, writes, imports or calls anything else does not."""

import pytest

from vedette.checkpoint.exported.torchscript_code import forbidden_word

PLAIN = """class FrameDetector(Module):
  __parameters__ = []
  __buffers__ = []
  def forward(self: __torch__.vedette.model.frame_detector.FrameDetector,
    frames: Tensor) -> Tuple[Tensor, Tensor]:
    x = torch.to(torch.permute(frames, [0, 3, 1, 2]), 6)
    n = ops.prim.NumToTensor(torch.size(x, 1))
    input = torch.silu_(torch._convolution(x, CONSTANTS.c1, None, [2, 1], [-1, 1], [1, 1], False, [0, 0], 1))
    y = torch.upsample_nearest2d(input, None, [2., 2.0e-1])
    g = torch.arange(int(n), dtype=6, layout=None, device=torch.device("cpu"))
    return (y, g)
"""


def test_plain_code_passes():
    assert forbidden_word(PLAIN) == ""


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('torch.save(x, "canary")', "save"),
        ('torch.from_file("canary", True, 4)', "from_file"),
        ("torch . save(x)", "save"),
        ('x.save("canary")', "save"),
        ("s = x.save", "save"),
        ("t = torch", "torch"),
        ("(torch).save(x)", "torch"),
        ('ops.aten.save(x, "canary")', "aten"),
        ("torch.classes.a.B()", "classes"),
        ("b = __torch__.torch.classes.a.B()", "__torch__"),
        ("import os", "import"),
        ("x.__class__", "__class__"),
        ("__import__(1)", "__import__"),
        ("print(x)", "print"),
        ('getattr(x, "save")', "getattr"),
        ("f(x)", "f"),
        ("x.requires_grad_(True)", "requires_grad_"),
        ("torch.rand([2])", "rand"),
        ("y = 'a'", "'a'"),
        ('y = "a\\"; torch.save(x)"', '"a'),
        ("y = 1 # x", "# x"),
        ("y = x; z = x", "; z = x"),
        ("y = 2.save", "save"),
        ("y = 0x1f", "x1f"),
        ("CONSTANTS.save", "save"),
        ("y = x @ x", "@ x"),
        ("y = é", "é"),
    ],
)
def test_everything_else_is_named(line, word):
    found = forbidden_word(PLAIN.replace("    return", f"    {line}\n    return"))
    assert found.startswith(word)
