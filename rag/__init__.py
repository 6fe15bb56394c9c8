"""What is known: documents and conversations. Knows nothing of backends or Streamlit."""
