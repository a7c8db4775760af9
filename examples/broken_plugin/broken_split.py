"""Example of a broken plugin: it imports a package that does not exist."""

import a_package_that_nobody_has  # noqa: F401
