"""Text classification for Novum: the task `text-classification` and the models `bag` and `transformer`."""
