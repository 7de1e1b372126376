"""What teachers contribute: label maps, the joint cost, weights of several teachers, and the gate that may refuse."""
