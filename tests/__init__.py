"""Tests; a package, since some installed wheel brings one of the same name."""
