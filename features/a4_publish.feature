Feature: A.4 The image is published
  An image in a public registry is pushed with a login and pulled without one, by standard tools. The registry here
  has two doors to one storage: one takes pushes and demands a login, the other serves pulls to anybody.

  @A4-1
  Scenario: A repository in ECR Public is created and has a public address
    Given an ECR Public repository made for this run
    Then its address is public

  @A4-1 @control
  Scenario: A name that is taken already gets no address
    Given an ECR Public repository by a name that is taken already
    Then its address is public
    But the check says no because of "RepositoryAlreadyExistsException"

  @A4-2
  Scenario: Whoever has the login can push
    When the image of the workload is pushed with the login
    Then the push is accepted

  @A4-2 @control
  Scenario: Whoever has no login cannot push
    When the image of the workload is pushed without a login
    Then the push is accepted
    But the check says no because of "refused"

  @A4-3
  Scenario: Anybody can pull, with no credentials anywhere
    Given the image of the workload in the registry
    When it is pulled without any credentials
    Then the pull is accepted
    And the digest pulled is the digest pushed
    And there were no credentials to use

  @A4-3 @control
  Scenario: Where a login is demanded, nobody pulls without one
    Given the image of the workload in the registry
    When it is pulled without any credentials from the door that demands a login
    Then the pull is accepted
    But the check says no because of "refused"

  @A4-4
  Scenario: Standard OCI operations suffice: push, pull, inspect
    When the image of the workload is pushed with the login
    Then the push is accepted
    When it is pulled without any credentials
    Then the pull is accepted
    And podman can inspect what it pulled

  @A4-4 @control
  Scenario: What is no OCI image is not taken
    When something that is no OCI image is pushed with the login
    Then the push is accepted
    But the check says no because of "refused"
