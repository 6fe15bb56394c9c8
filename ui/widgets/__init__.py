"""What several rooms of the UI draw with."""
