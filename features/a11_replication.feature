Feature: A.11 A third party can repeat the test
  The annex says that anyone with an account can repeat the test within three quarters of an hour.

  @A11-1 @last
  Scenario: The whole run takes 30 to 45 minutes
    When the whole run has ended
    Then the run took at most 45 min

  @A11-2 @shared
  Scenario Outline: Block <block> can be copied and pasted: it <does>
    When the annex's block <block> has been pasted after those before it
    Then block <block> ends with 0
    And block <block> prints what the annex shows

    Examples:
      | block | does                          |
      |   2.1 | installs Rust                 |
      |   2.2 | makes the project             |
      |   2.3 | builds the module             |
      |   3.1 | builds the image              |
      |   3.2 | shows the image               |
      |   4.1 | creates the repository        |
      |   4.2 | logs in to it                 |
      |   4.3 | pushes the image              |
      |   4.4 | pulls the image               |
      |   5.1 | starts the instance           |
      |   5.2 | logs in to it                 |
      |   5.3 | installs Podman               |
      |   5.4 | installs WasmEdge             |
      |   5.5 | links crun-wasm               |
      |   6.1 | makes the folder for Quadlets |
      |   6.2 | writes the Quadlet            |
      |   6.3 | starts the workload           |
      |   7.1 | shows memory                  |
      |   7.2 | shows CPU time                |
      |   7.3 | shows the device's memory     |
      |   7.4 | lists images                  |
      |   7.5 | times a start                 |
      |  10.1 | removes the workload          |
      |  10.2 | terminates the instance       |
      |  10.3 | deletes the repository        |

  @A11-2 @shared
  Scenario: The annex has no other block
    When all blocks of the annex have been pasted
    Then there are 25 of them

  @A11-2 @control
  Scenario: A block with a wrong flag does not end with 0
    When the annex's block 7.3 has been pasted with a wrong flag
    Then block 7.3 ends with 0
    But this check fails on "paste.status.7.3"

  @A11-2 @control
  Scenario: A block with a wrong flag does not print what the annex shows
    When the annex's block 7.3 has been pasted with a wrong flag
    Then block 7.3 prints what the annex shows
    But this check fails on "paste.lacks.7.3"
