Feature: A.1 Room on the disk
  Whoever pulls images needs a disk to put them on.

  @A1-1
  Scenario: A fresh machine has room
    Given a machine
    Then its disk has 2 GB to 4 GiB to spare

  @A1-1 @control
  Scenario: A machine whose disk is full has none
    Given a machine with a file of 2 GB
    Then its disk has 2 GB to 4 GiB to spare
    But the check says no because of "disk.free"
