"""The web application: `streamlit run streamlit_app.py`."""

from ui import frame

frame.draw()
