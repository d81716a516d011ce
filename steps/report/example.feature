@annex
Feature: Examples
  One of each.

  Background:
    Given a machine

  @A2-1
  Scenario: It holds
    When it runs
    Then it is small:
      | what | most |
      | it   | 10   |

  @A2-1 @control
  Scenario: A large one
    Then it is small
    But this check fails on "size"

  @A2-2
  Scenario: It fails
    When it runs
      """
      as it is
      """
    Then it is small

  @A2-3 @slow
  Scenario: It cannot be judged
    When it runs
    Then it is small

  @A2-3 @control
  Scenario: Not selected
    Then it is small
    But this check fails on "size"

  Rule: Elsewhere
    Background:
      Given a second machine

    @A2-4
    Scenario: It is not run
      Then it is small

    @A2-5
    Scenario: It is recorded
      When it runs
      Then it is small

    @A2-6
    Scenario: It is known to pass what is wrong
      When it runs
      Then it is small

    @A2-6 @control
    Scenario: A wrong one passes
      Then it is small
      But this check fails on "size"

    @A2-7
    Scenario: It is known to fail
      When it runs
      Then it is small

    @A2-8
    Scenario: It is flaky
      When it runs
      Then it is small
