"""Pages of the app. Streamlit runs each file as a script when its page is shown."""

__all__: list[str] = []
