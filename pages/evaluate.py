"""Where this page is the first that a new server shows: Streamlit runs this file then, and not streamlit_app.py.

It takes a folder of pages for pages of its older kind until the frame has told it of ours, and without a file of the
name that stands in the address it says "Page not found" over the page.
"""

from ui import frame

frame.draw()
