"""The plan of features as a graph: parsing, preprocessing, models and their export."""
