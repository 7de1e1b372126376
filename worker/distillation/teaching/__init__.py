"""What teachers contribute: label maps, the joint cost, teacher weights, and the gate that may reject teachers."""
