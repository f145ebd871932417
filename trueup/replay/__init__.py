"""Requests once more: a real server answers with a candidate's artifact what clients asked."""
