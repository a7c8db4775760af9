"""Sources of backbones: timm, Hugging Face, torch.hub, packaged weights, local checkpoints."""

__all__: list[str] = []
