"""What AWS offers: instance types, their prices, container images.

Here lives what is true whatever a request asks for: tables that are bundled, and how the answers
of AWS's catalogues are read.
"""
