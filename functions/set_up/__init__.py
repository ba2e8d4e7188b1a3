"""Does for the stack what CloudFormation can't."""
