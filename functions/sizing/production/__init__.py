"""What production endpoints really get, and whether they have the right number of instances."""
