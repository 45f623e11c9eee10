"""The deep path: an autoencoder or another network sees the images, cluster models group what it sees.

files → pictures → embedding → cluster models → the best by three metrics → labels

Needs the extra `deep` (torch, torchvision, scikit-learn, matplotlib); nothing of it is imported before it
is used.
"""
