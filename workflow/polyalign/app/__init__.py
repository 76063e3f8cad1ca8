"""The app in the browser: a palette explorer, which needs a table of rewards alone"""
