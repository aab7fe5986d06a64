"""From the records of a run to one HTML file that works offline. Nothing here knows a model, and nothing here needs
torch.
"""
