Feature: A.11 A third party can repeat the test
  The annex says that anyone with an account can repeat the test within three quarters of an hour.

  @A11-1 @last
  Scenario: The whole run takes 30 to 45 minutes
    When the whole run has ended
    Then the run took at most 45 min
