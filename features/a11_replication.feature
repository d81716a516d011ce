Feature: A.11 A third party can repeat it
  The annex says that anybody with an account repeats it within three quarters of an hour.

  @A11-1 @last
  Scenario: The whole takes 30 to 45 minutes
    When the whole run has ended
    Then it took at most 45 min
