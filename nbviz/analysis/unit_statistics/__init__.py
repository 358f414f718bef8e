"""What every channel of a layer answered over a data set, in numbers that can be merged.

The statistics of two sets of images are merged into those of both, and it does not matter, to the
last bit, how the images were divided or in which order parts are merged: sums are kept exactly,
ranks are broken by the image's number and the place, and counts are counts.
"""
