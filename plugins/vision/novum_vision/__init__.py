"""Image tasks and models for Novum: the task `image-classification` and the model `timm`."""
