"""The vocabulary: requests, facts and operations as frozen values that know no I/O."""
