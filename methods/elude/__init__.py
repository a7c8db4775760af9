"""ELUDe (explicit, lossless, unsupervised disentanglement): clustering, splitting, and the method that uses them."""

from methods.elude.clustering import Clustering, cluster
from methods.elude.method import ELUDe, ELUDeConfig
from methods.elude.splitting import Split, split

__all__ = ["Clustering", "ELUDe", "ELUDeConfig", "Split", "cluster", "split"]
