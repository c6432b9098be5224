"""BERT fine-tuned for binary classification: per-epoch train loss and dev scores, then a report on test."""

import argparse
import os
from pathlib import Path

import novum

words = argparse.ArgumentParser(description=__doc__)
words.add_argument("--checkpoint", default="", help="such as bert-base-cased, or a folder; default: a small BERT")
words.add_argument("--budget", default="3 epochs", help="how much to train")
given = words.parse_args()
reviews = Path(os.environ.get("NOVUM_DATA", "no-data")) / "text_classification" / "mr"
files = {split: str(reviews / f"{split}.tsv") for split in ("train", "dev", "test")}
data = {"data": files} if reviews.is_dir() else {"data": "stdlib-docs", "classes": ["asyncio", "email"]}
bert = novum.arm(novum.task("text-classification", **data), novum.model("transformer", checkpoint=given.checkpoint))
run = novum.Study().train(bert.but(budget=given.budget), test=True)
for epoch, point in enumerate(run.curve, 1):
    print(f"{epoch:5d}  train loss {point['losses']['loss']:.4f}  dev accuracy {point['metrics']['accuracy']:.4f}")
print(run.report())
