"""Rules about the data: classes of unlike size, few labels, long texts."""

from __future__ import annotations

from novum.rules import Held, Rule, Sign, Step

UNEVEN = (Sign("train.imbalance", above=3.0), Sign("run.class.worst", below=0.7))
"""Classes of unlike size, and one that is often missed."""
FEW = Sign("train.per_class", below=100.0)
STARTS = Held(("start_from", "model.pretrained", "model.checkpoint"))
"""Training begins with weights from elsewhere."""

balanced_classes = Rule(
    name="balanced-classes",
    claim="Weighting classes by how rare they are helps",
    signs=UNEVEN,
    remedies=({"model.class_weights": Step(to="balanced")},),
    reason=(
        "The largest class has {train.imbalance} times the units of the smallest, and a class is recalled in "
        "{run.class.worst:.0%} of its cases; weights give each class the same say."
    ),
    source="King and Zeng 2001, Logistic Regression in Rare Events Data",
    gain=0.04,
)
focal_loss = Rule(
    name="focal-loss",
    claim="A focal loss helps",
    signs=UNEVEN,
    remedies=({"model.focal": Step(to=2.0)}, {"model.focal": Step(to=1.0)}),
    reason=(
        "The largest class has {train.imbalance} times the units of the smallest, and a class is recalled in "
        "{run.class.worst:.0%} of its cases; a focal loss turns from the many easy units to the hard ones."
    ),
    source="Lin et al. 2017, Focal Loss for Dense Object Detection",
    gain=0.03,
)
start_from_another = Rule(
    name="start-from-another",
    claim="Starting from another arm's weights helps",
    signs=(FEW,),
    remedies=({"start_from": Step(other=True)},),
    reason="There are {train.per_class} units of a class on average; what was learned elsewhere needs fewer of them.",
    source="Pan and Yang 2010, A Survey on Transfer Learning",
    gain=0.1,
    cost=3.0,
)
pretrained_weights = Rule(
    name="pretrained-weights",
    claim="Pretrained weights help",
    signs=(FEW,),
    remedies=({"model.pretrained": Step(to=True)},),
    reason="There are {train.per_class} units of a class on average; pretrained features need fewer of them.",
    source="Yosinski et al. 2014, How transferable are features in deep neural networks?",
    gain=0.08,
    cost=1.5,
)
train_the_head = Rule(
    name="train-the-head",
    claim="Keeping what training began with and learning the head alone helps",
    signs=(FEW, STARTS),
    remedies=({"model.trained": Step(to="head")},),
    reason=(
        "There are {train.per_class} units of a class on average, and training begins with weights from elsewhere; few "
        "units can spoil them."
    ),
    source="Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution",
    gain=0.03,
)
train_biases = Rule(
    name="train-biases",
    claim="Learning the head, biases and norms alone helps",
    signs=(FEW, STARTS),
    remedies=({"model.trained": Step(to="biases")},),
    reason=(
        "There are {train.per_class} units of a class on average, and training begins with weights from elsewhere; its "
        "few biases adapt with less harm than all of its weights."
    ),
    source="Ben Zaken et al. 2022, BitFit: Simple Parameter-efficient Fine-tuning",
    gain=0.03,
)
longer_texts = Rule(
    name="longer-texts",
    claim="Reading more of a text helps",
    signs=(Sign("train.length.words.p95", above="model.max_length"),),
    remedies=({"model.max_length": Step(times=2.0)},),
    reason=(
        "One text in twenty has more than {train.length.words.p95} words and marks, and only {model.max_length} tokens "
        "are read."
    ),
    source="Beltagy et al. 2020, Longformer: The Long-Document Transformer",
    gain=0.04,
    cost=2.0,
)
