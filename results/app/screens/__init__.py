"""The app's pages. Each file is run by streamlit as a script when its page is shown."""

__all__: list[str] = []
