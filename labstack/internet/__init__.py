"""The internet layer: datagrams from end to end, over many links."""
