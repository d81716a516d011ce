//! Everything a run may have made in EC2: found by its tag, removed in the order that EC2 allows.
