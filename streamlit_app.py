"""The web application: `streamlit run streamlit_app.py`."""

import streamlit as st

app = st.App("ui/main.py")
