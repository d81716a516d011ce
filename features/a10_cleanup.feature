Feature: A.10 Nothing is left behind
  After the clean-up that the annex describes, the device is in its original state, and no paid resource is left.

  @A10-1
  Scenario: Clean-up leaves no unit, no Quadlet and no image
    When the workload has been deployed, started and cleaned up as the annex describes
    Then no unit, Quadlet or image of the workload is left

  @A10-1 @control
  Scenario: A Quadlet that was not removed is detected
    When the workload has been deployed, started and cleaned up, except for its Quadlet
    Then no unit, Quadlet or image of the workload is left
    But this check fails on "left.units"

  @A10-2 @last
  Scenario: The instance and everything created for it are gone
    When the run's instance has been terminated
    Then no resource with the run's tag remains

  @A10-2 @control @last
  Scenario: A key pair that was not deleted is detected
    When the run's instance has been terminated, but its key pair has not been deleted
    Then no resource with the run's tag remains
    But this check fails on "left.cloud"

  @A10-3 @last
  Scenario: The repository can be removed with its images
    When the run's repository has been deleted with its images
    Then the repository no longer exists
