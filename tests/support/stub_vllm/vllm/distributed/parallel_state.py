"""Module of the stand-in."""


def cleanup_dist_env_and_memory() -> None:
    pass
