"""Sources of backbones: timm, Hugging Face, torch.hub, packaged weights, local checkpoints."""
