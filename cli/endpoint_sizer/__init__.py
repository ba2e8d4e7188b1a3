"""``endpoint-sizer``: the one command of this project, for people and CI."""
