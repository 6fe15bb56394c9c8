"""How it looks. Beside pages/ and the frame, the only room that imports streamlit."""
