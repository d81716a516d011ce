Feature: A.10 Nothing is left behind
  After the clean-up that the annex describes, the device is as it was, and nothing that was paid for is left.

  @A10-1
  Scenario: Clean-up leaves no unit, no Quadlet and no image
    When the workload has been deployed, started and cleaned up as the annex says
    Then no unit, no Quadlet and no image of it are left

  @A10-1 @control
  Scenario: A Quadlet that was forgotten is found
    When the workload has been deployed, started and cleaned up but for its Quadlet
    Then no unit, no Quadlet and no image of it are left
    But the check says no because of "wasm-hello.service"

  @A10-2 @last
  Scenario: The instance and all that was made for it are gone
    When the run's instance has been terminated
    Then nothing that carries the run's tag is left

  @A10-2 @control @last
  Scenario: A key pair that was forgotten is found
    When the run's instance has been terminated and its key pair forgotten
    Then nothing that carries the run's tag is left
    But the check says no because of "key-pair"

  @A10-3 @last
  Scenario: The repository can be removed with its images
    When the run's repository has been deleted with its images
    Then the repository is gone
