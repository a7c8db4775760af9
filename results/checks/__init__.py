"""Identities that hold in every right store, by what they are about; :mod:`results.verify` runs them."""
