"""Rules about how well what was seen carries over, and whether there is room to see it in."""

from __future__ import annotations

from novum.rules import Rule, Sign, Step

GAP = (Sign("run.gap", above=0.05),)
"""What was seen is known better than what was not, by a twentieth of the scale."""
WIDE_GAP = (Sign("run.gap", above=0.15),)
TOLD = "Train is scored {run.gap} of the scale better than dev; "

dropout = Rule(
    name="dropout",
    claim="More dropout helps",
    signs=GAP,
    remedies=(
        {"model.dropout": Step(least=0.3)},
        {"model.drop_rate": Step(least=0.3)},
        {"model.dropout": Step(least=0.5)},
        {"model.drop_rate": Step(least=0.5)},
    ),
    reason=TOLD + "units that drop out at random cannot lean on each other.",
    source="Srivastava et al. 2014, Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
    gain=0.025,
)
weight_decay = Rule(
    name="weight-decay",
    claim="More weight decay helps",
    signs=GAP,
    remedies=({"recipe.weight_decay": Step(least=0.1)}, {"recipe.weight_decay": Step(times=3.0)}),
    reason=TOLD + "smaller weights make a smoother function.",
    source="Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization",
    gain=0.02,
)
smoothing = Rule(
    name="smoothing",
    claim="Smoothing labels helps",
    signs=GAP,
    remedies=({"model.label_smoothing": Step(least=0.1)},),
    reason=TOLD + "a target that is never certain is not worth learning by heart.",
    source="Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision",
    gain=0.015,
)
shifted_images = Rule(
    name="shifted-images",
    claim="Training on shifted images helps",
    signs=GAP,
    remedies=({"model.shift": Step(least=0.125)},),
    reason=TOLD + "an image that is moved a little still shows the same, and was not seen before.",
    source="Simard et al. 2003, Best Practices for Convolutional Neural Networks",
    gain=0.03,
)
mirrored_images = Rule(
    name="mirrored-images",
    claim="Training on mirrored images helps",
    signs=WIDE_GAP,
    remedies=({"model.flip": Step(to=True)},),
    reason=TOLD + "where left and right mean nothing, a mirror image still shows the same.",
    source="Krizhevsky et al. 2012, ImageNet Classification with Deep Convolutional Neural Networks",
    gain=0.015,
)
smaller_network = Rule(
    name="smaller-network",
    claim="A smaller network helps",
    signs=WIDE_GAP,
    remedies=(
        {"model.width": Step(times=0.5)},
        {"model.dimension": Step(times=0.5)},
        {"model.layers": Step(times=0.5)},
    ),
    reason=TOLD + "fewer parameters hold less of what occurred once.",
    source="Geman et al. 1992, Neural Networks and the Bias/Variance Dilemma",
    gain=0.01,
    cost=0.7,
)
early_stop = Rule(
    name="early-stop",
    claim="Stopping early helps",
    signs=(*GAP, Sign("run.rise", below=0.0)),
    remedies=({"recipe.early_stop": Step(to=3)},),
    reason=TOLD + "and over the last quarter of the budget dev changed by {run.rise}.",
    source="Prechelt 1998, Early Stopping - But When?",
    gain=0.02,
)
larger_network = Rule(
    name="larger-network",
    claim="A larger network helps",
    signs=(Sign("run.train", below=0.9), Sign("run.gap", below=0.05), Sign("run.rise", below=0.01)),
    remedies=(
        {"model.width": Step(times=2.0)},
        {"model.dimension": Step(times=2.0)},
        {"model.layers": Step(times=2.0)},
    ),
    reason=(
        "Train is scored {run.train} on the scale, hardly better than dev (by {run.gap}), and dev rose by {run.rise} "
        "over the last quarter of the budget: the network holds no more."
    ),
    source="Goodfellow et al. 2016, Deep Learning, section 11.4",
    gain=0.04,
    cost=2.0,
)
calibrated = Rule(
    name="calibrated",
    claim="Smoothing labels helps",
    signs=(Sign("run.ece", above=0.05), Sign("run.train", above=0.9)),  # what is not learned yet is not too sure
    remedies=({"model.label_smoothing": Step(least=0.1)}, {"model.label_smoothing": Step(least=0.05)}),
    reason=(
        "Confidence and accuracy on dev are {run.ece} apart, and train is scored {run.train}; a smoothed target keeps "
        "confidence from running away."
    ),
    source="Müller et al. 2019, When Does Label Smoothing Help?",
    gain=0.01,
)
