"""Where the way in and the way out meet: embeddings, the two indices, and the retriever over both."""
