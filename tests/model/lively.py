"""An untrained detector whose answer depends on the picture.

As initialised, a deep network dampens its input layer by layer until every cell says the same to a millionth. Here
the normalisations have seen noise once, and the output convolutions are made strong and impartial.
"""

from __future__ import annotations

import torch
from torch import nn

from vedette.model.detector import Detector, build_detector
from vedette.model.releases import architecture


def lively_detector(name: str = "tiny", classes: int = 3) -> Detector:
    detector = build_detector(architecture(name, classes=classes), seed=3)
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    noise = torch.rand(4, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        detector.train()(noise)
        for convolution in detector.output_convolutions:
            convolution.weight.mul_(3)
            convolution.bias.zero_()
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.03
    return detector.eval()
