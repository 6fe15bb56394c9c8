"""The pages and their parts: with `pages/` the only code that imports Streamlit."""
