Feature: A.4 The image is published
  An image in a public registry is pushed with a login and pulled without one, with standard tools. The registry here
  has two endpoints for one storage: one accepts pushes and requires a login, the other serves pulls to anyone.

  @A4-1
  Scenario: A repository in ECR Public is created and has a public address
    Given an ECR Public repository created for this run
    Then its address is public

  @A4-1 @control
  Scenario: A name that is already taken is rejected
    Given an ECR Public repository whose name is already taken
    Then its address is public
    But this check fails on "ecr.uri"

  @A4-2
  Scenario: A client with a login can push
    When the image of the workload is pushed with a login
    Then the push is accepted

  @A4-2 @control
  Scenario: A push without a login is rejected
    When the image of the workload is pushed without a login
    Then the push is accepted
    But this check fails on "push.result"

  @A4-3
  Scenario: Anyone can pull, with no credentials anywhere
    Given the image of the workload in the registry
    When it is pulled without credentials
    Then the pull is accepted
    And the pulled digest equals the pushed digest
    And no credentials were available for the pull

  @A4-3 @control
  Scenario: Where a login is required, a pull without one is rejected
    Given the image of the workload in the registry
    When it is pulled without credentials from the endpoint that requires a login
    Then the pull is accepted
    But this check fails on "pull.result"

  @A4-4
  Scenario: Standard OCI operations suffice: push, pull, inspect
    When the image of the workload is pushed with a login
    Then the push is accepted
    When it is pulled without credentials
    Then the pull is accepted
    And Podman can inspect the pulled image

  @A4-4 @control
  Scenario: Content that is not an OCI image is rejected
    When content that is not an OCI image is pushed with a login
    Then the push is accepted
    But this check fails on "push.result"
