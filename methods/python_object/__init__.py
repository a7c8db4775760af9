"""Python objects as methods: what a notebook holds, and no file or registry does."""

__all__ = ["MODULE"]

#: Module of the classes that are made of objects. It is none of this project, so what they return is checked as that of
#: a plugin; and it is not that of a notebook, whose code is part of a cell's id: the content of the object is already.
MODULE = "python_object"
