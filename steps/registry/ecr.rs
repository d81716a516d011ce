//! ECR Public: a repository of the run's own, pushed to with a login and pulled from without one.
